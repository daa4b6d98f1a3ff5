//! The hub as the places of a run configure it.

use crate::hub::HubClient;
use crate::run::{Places, RunError};

/// Revision of a hub id without one. The resolved commit is recorded.
pub const DEFAULT_REVISION: &str = "main";

/// A client of the hub.
pub fn hub(places: &Places) -> Result<HubClient, RunError> {
    let client =
        HubClient::new(&places.hub_endpoint, places.hub_token.as_deref(), &places.cache, places.offline)?;
    Ok(match &places.hub_shared {
        Some(folder) => client.with_shared_cache(folder),
        None => client,
    })
}
