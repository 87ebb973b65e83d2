//! Where the list of sinks comes from: sinks of the settings, which always exist, and sinks that
//! come and go while the relay runs, such as webhook endpoints.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Sink, SinkName};

/// An error of a source.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// The first message of a new sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// The oldest that the outbox still has.
    First,
    /// The next one written.
    Now,
}

/// A sink, and how to read for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SinkName,
    /// The revision of its settings; when it changes, the sink is opened again.
    pub revision: i64,
    /// Its first message, if it is new.
    pub begins: Begins,
    /// The batch size.
    pub batch: u16,
}

/// A source of sinks, which is listed every second.
#[async_trait]
pub trait SinkSource: Send + Sync {
    /// The current sinks. On an error, the previous list stays valid.
    async fn list(&self) -> Result<Vec<Listed>, SourceError>;

    /// Opens one of them for delivery. On an error, it is tried again a second later.
    async fn open(&self, listed: &Listed) -> Result<Arc<dyn Sink>, SourceError>;
}

/// One sink that always exists.
pub struct Fixed {
    listed: Listed,
    sink: Arc<dyn Sink>,
}

impl Fixed {
    /// Creates a source of this sink.
    #[must_use]
    pub fn new(name: SinkName, begins: Begins, batch: u16, sink: Arc<dyn Sink>) -> Self {
        Self { listed: Listed { name, revision: 0, begins, batch }, sink }
    }
}

#[async_trait]
impl SinkSource for Fixed {
    async fn list(&self) -> Result<Vec<Listed>, SourceError> {
        Ok(vec![self.listed.clone()])
    }

    async fn open(&self, _listed: &Listed) -> Result<Arc<dyn Sink>, SourceError> {
        Ok(Arc::clone(&self.sink))
    }
}
