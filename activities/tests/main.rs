//! The contract of every activity: it takes effect; it is idempotent, and so is its undo; after the
//! undo, it is refused. Each test has its own database.

#[cfg(test)]
mod bank_transfer;
#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod closings;
#[cfg(test)]
mod disputes;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fraud;
#[cfg(test)]
mod inbox;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod payment;
#[cfg(test)]
mod placing;
#[cfg(test)]
mod projection;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod refunds;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod shipping;
#[cfg(test)]
mod stock;
#[cfg(test)]
mod stripe;
#[cfg(test)]
mod stripe_counterpart;
#[cfg(test)]
mod support;
#[cfg(test)]
mod texts;
#[cfg(test)]
mod waiting;
