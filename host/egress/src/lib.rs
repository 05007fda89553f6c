//! Requests that an application sends to the outside: one place that decides where they may go, and sends them there.
//!
//! Who may ask which [`WebOrigin`](nexus_model::WebOrigin), or connect to which [`TcpDestination`](nexus_model::TcpDestination), is
//! decided before. Here a name is resolved once, the addresses that
//! are not on the public internet are taken out, and the connection is made to one of those that are left: what is looked
//! at is what is connected to. Nothing is followed, no proxy is asked, no connection is used twice.

mod address;
mod answer;
mod config;
mod connect;
mod error;
mod resolve;
mod send;

pub use self::{
    address::closed,
    answer::AnswerBody,
    config::{EgressConfig, Patience},
    connect::Driver,
    error::EgressError,
    resolve::{Resolver, SystemResolver},
    send::Egress,
};
