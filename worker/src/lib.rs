//! The worker: runs orders' workflows and activities, and checks the invariants.
//!
//! A library, so that the program `ordersaga`, tests and benchmarks run the same code.
//!
//! | module | in the shop |
//! |---|---|
//! | [`run`] | serves the task queues until shutdown |
//! | [`ops`] | the operations endpoints `/health`, `/ready`, `/metrics` |
//! | [`parties`] | stops calls to a party when an operator says so, and reports the state of each party |
//! | [`inbox`] | applies the payment provider's events |
//! | [`payment`] | chooses the payment provider by the settings |
//! | [`bank`] | bank transfers: the shop's account, signals to its orders, payment lists |
//! | [`catalogue_file`] | reads a supplier's price list |
//! | [`recover`] | relaunches orders whose workflow is lost |
//! | [`order_metrics`] | counts open orders and undelivered messages |
//! | [`housekeeping`] | releases expired reservations, and deletes data past its retention |
//! | [`replay`] | replays recorded histories against the current workflows |
//! | [`prove`] | checks the invariants |
//! | [`rebuild`] | compares orders' rows with their events |
//! | [`reconcile`] | maintains the schedule of reconciliations with the provider |
//! | [`export`] | exports the books for other accounting programs, which verify them |
//! | [`release`] | pins every order to the release that it began on |
//! | [`database`], [`telemetry`] | the worker's database, and the SDK's runtime with all metrics |

pub mod activity_metrics;
pub mod bank;
pub mod catalogue_file;
pub mod database;
pub mod export;
pub mod housekeeping;
pub mod inbox;
pub mod ops;
pub mod order_metrics;
pub mod parties;
pub mod pausable_queue;
pub mod payment;
pub mod prove;
pub mod rebuild;
pub mod reconcile;
pub mod recover;
pub mod release;
pub mod replay;
pub mod run;
pub mod telemetry;
pub mod waiting;
