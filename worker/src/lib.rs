//! The worker: runs orders' workflows and activities, and checks the invariants.
//!
//! A library, so that the program `ordersaga`, a test or a benchmark can serve the very same
//! queues.
//!
//! | module | in the shop |
//! |---|---|
//! | [`run`] | serves the task queues until it is told to stop |
//! | [`ops`] | what an operator and a load balancer ask it: `/health`, `/ready`, `/metrics` |
//! | [`parties`] | obeys operators' stops of a party, and tells how each party stands |
//! | [`inbox`] | applies what the payment provider tells by itself |
//! | [`payment`] | who takes the customers' money, by the settings |
//! | [`bank`] | the shop's account for bank transfers, news for its orders, payment lists |
//! | [`catalogue_file`] | reads a supplier's list |
//! | [`recover`] | launches orders anew whose workflow is lost |
//! | [`order_metrics`] | counts the orders that have not ended, and the messages not published |
//! | [`housekeeping`] | gives expired reservations back, and removes what is kept only for a time |
//! | [`replay`] | shows that today's code still understands yesterday's orders |
//! | [`prove`] | shows that the invariants hold |
//! | [`rebuild`] | compares orders' rows with what their events tell |
//! | [`reconcile`] | keeps the schedule by which provider and shop are compared |
//! | [`export`] | writes the books for other accounting programs, which check them anew |
//! | [`release`] | has every order end on the release that it began on |
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
