//! Sets the commit that `ordersaga --version` prints.

include!("commit.rs");
