//! What stands between a run and its target while an image is baked: it may answer a call in the target's stead, and
//! hears of every call that is made.

use std::fmt::Debug;
use std::time::Duration;

use bakery_protocol::Request;
use serde_json::Value as Json;

use super::{Connections, Endpoint, Escalation, Unreachable};

/// A memory of calls. Everything that reaches the target passes through it, one call after the other, so that the
/// requests so far say in which state the target is.
pub trait Journal: Debug + Send + Sync {
    /// Answers a call: with what it remembers, or with what `target` says.
    ///
    /// # Errors
    /// When the target cannot be reached.
    fn call(&self, target: &Channel<'_>, asked: &Asked<'_>) -> Result<Json, Unreachable>;
}

/// A call as a journal sees it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What the agent is asked.
    pub request: &'a Request,
    /// As whom.
    pub escalation: Option<&'a Escalation>,
    /// How long it may take.
    pub limit: Option<Duration>,
    /// The task's name as it is shown.
    pub task: &'a str,
    /// Whether nothing of it may be kept in words.
    pub secret: bool,
}

/// The way to the target.
#[derive(Debug)]
pub struct Channel<'a> {
    pub(super) connections: &'a Connections,
    pub(super) endpoint: &'a Endpoint,
}

impl Channel<'_> {
    /// Makes a call.
    ///
    /// # Errors
    /// When the target cannot be reached.
    pub fn ask(
        &self,
        request: &Request,
        escalation: Option<&Escalation>,
        limit: Option<Duration>,
    ) -> Result<Json, Unreachable> {
        self.connections.ask(self.endpoint, request, escalation, limit)
    }

    /// Ends the agents there; the next call starts new ones.
    pub fn close(&self) {
        self.connections.reset(self.endpoint);
    }
}
