//! Tells `shop --version` which commit it is built from.

include!("../cli/commit.rs");
