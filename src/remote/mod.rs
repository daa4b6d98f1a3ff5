//! Run folders in object storage: Amazon S3 and services like it, Google Cloud Storage, Azure Blob Storage.
//!
//! In: an address such as `s3://bucket/prefix`, with the settings and credentials of its service.
//! Out: files of the address in a local folder; objects with the content of local files; leases.
//! Never: reads the environment, tells a credential, knows what a file is about.
//!
//! Every object is stored with the BLAKE3 digest of its content, and files that are brought back are compared with it or
//! with a better-known one. ETags say nothing of a content: they only tell versions of an object apart.

#[cfg(not(feature = "object-storage"))]
#[path = "absent.rs"]
mod store;
#[cfg(feature = "object-storage")]
mod store;

mod address;
mod lease;
mod mirror;
mod object;
#[cfg(feature = "object-storage")]
#[cfg(test)]
mod tests;

pub use address::{Address, Service, Settings};
pub use lease::{Claim, Lease, pulse};
pub use mirror::{Mirror, Use};
pub use object::{Object, Version};
pub use store::Store;
