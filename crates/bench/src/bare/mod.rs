//! Baselines: the smallest honest loops for a task, without code of the product.
//!
//! They run as processes of their own, like the programs that are measured. The additional time of
//! a measured pair is what anyport adds to sockets, buffers, frames and masks.

mod echo;
mod frames;
mod receive;
mod send;

pub(super) use echo::echo;
pub(super) use receive::receive;
pub(super) use send::send;
