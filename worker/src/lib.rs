//! The worker: carries orders through, and shows that what it did holds together.
//!
//! Everything that the binary does is a function here, so that a test or a benchmark can serve
//! the very same queues in its own process.
//!
//! | module | in the shop |
//! |---|---|
//! | [`run`] | serves the task queues until it is told to stop |
//! | [`ops`] | what an operator and a load balancer ask it: `/health`, `/ready`, `/metrics` |
//! | [`catalogue_file`] | reads a supplier's list |
//! | [`migrate`] | brings the database up to date |
//! | [`replay`] | shows that today's code still understands yesterday's orders |
//! | [`prove`] | shows that the invariants hold |
//! | [`database`], [`temporal`], [`telemetry`] | the ways to Postgres, to Temporal, and to whoever watches |

pub mod catalogue_file;
pub mod database;
pub mod line;
pub mod migrate;
pub mod ops;
pub mod prove;
pub mod replay;
pub mod run;
pub mod steps_counted;
pub mod telemetry;
pub mod temporal;
pub mod waiting;
