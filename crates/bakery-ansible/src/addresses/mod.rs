//! Addresses of networks and of hardware: the filters and tests of the collection `ansible.utils`, with what the libraries
//! `netaddr` (filters) and `ipaddress` (tests) answer.

mod filters;
mod hardware;
mod network;
mod ranges;
mod tests;

pub(crate) use filters::call as filter;
pub(crate) use tests::call as test;
