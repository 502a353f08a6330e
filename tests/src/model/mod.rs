//! What is sent and what is owed in return, without a network: samples, receivers, the ledger of what was
//! acknowledged, and the comparison of what came back.

pub(crate) mod calls;
pub(crate) mod compare;
pub(crate) mod corpus;
pub mod door;
pub(crate) mod expect;
pub(crate) mod id;
pub(crate) mod ledger;
pub(crate) mod outcome;
pub(crate) mod shop;
