//! Tells `ordersaga --version` which commit it is built from.

include!("commit.rs");
