//! The proxy in front of a stand-in for localstripe, whose answers are modelled on observed ones.

#[cfg(test)]
mod localstripe;
#[cfg(test)]
mod proxy;
