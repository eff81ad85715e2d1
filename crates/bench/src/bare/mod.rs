//! Yardsticks: the smallest honest loops that do a job, without any code of the product.
//!
//! They run as processes of their own, as the pairs do. What a pair takes longer than its yardstick
//! is what anyport adds to sockets, buffers, frames and masks.

mod echo;
mod frames;
mod receive;
mod send;

pub(super) use echo::echo;
pub(super) use receive::receive;
pub(super) use send::send;
