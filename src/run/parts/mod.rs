//! Parts of a run: several processes, on machines that share the run folder, each do a share of its rows.
//!
//! The unit of work is a method at a hook point of one subject: the fit, and the rows with their explanations and
//! scores. Before the first row the parts agree on who does which units (`division`), by planned cost (`units`, `split`).
//!
//! - A part holds the lease of its number as long as it is at work, and the lease of a unit while it does it. What
//!   several need (activations of a hook point, the fit that others are matched to) is made by whoever holds its lease.
//! - When its own units are done, a part does those of parts that have begun, if nobody works on them: of a dead part,
//!   or of one that is slower. Units of parts that have not begun are left to them.
//! - A whole run excludes parts and waits for them. It finds their rows, does what is missing, and writes the results.
//!
//! Leases save work. Rows, activations and answers are written atomically under keys of what they depend on, and are the
//! same bytes whoever makes them. So a lease that is lost costs time and changes no result.

mod division;
pub mod leases;
mod part;
pub mod planned;
pub mod share;
mod split;
mod taking;
pub mod turn;
mod units;
pub mod work;

pub use part::Part;
