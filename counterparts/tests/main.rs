//! The proxy before a stand-in for localstripe, which answers as that one was seen to.

#[cfg(test)]
mod localstripe;
#[cfg(test)]
mod proxy;
