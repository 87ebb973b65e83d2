//! Which sinks there are: those of the settings, which are always there, and those that come and go
//! while the relay runs, such as webhook endpoints.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Sink, SinkName};

/// What went wrong where sinks come from.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// With which message a sink begins that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// With the first that the outbox still has.
    First,
    /// With the first that is written from then on.
    Now,
}

/// A sink that there is, and how it is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is called.
    pub name: SinkName,
    /// Which of its settings count; where the number is another one, the sink is opened anew.
    pub revision: i64,
    /// With which message it begins, if it is new.
    pub begins: Begins,
    /// How many messages it is given at once.
    pub batch: u16,
}

/// Where sinks come from. It is looked every second which there are.
#[async_trait]
pub trait SinkSource: Send + Sync {
    /// The sinks that there are at this moment. While this fails, those of the last time stay.
    async fn list(&self) -> Result<Vec<Listed>, SourceError>;

    /// Makes one of them ready to deliver. What fails is tried again a second later.
    async fn open(&self, listed: &Listed) -> Result<Arc<dyn Sink>, SourceError>;
}

/// One sink, which is always there.
pub struct Fixed {
    listed: Listed,
    sink: Arc<dyn Sink>,
}

impl Fixed {
    /// The sink under its name.
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
