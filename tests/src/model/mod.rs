//! What is sent and what is owed in return, without a network: samples, receivers, the ledger of what was
//! acknowledged, and the comparison of what came back.

pub mod compare;
pub mod corpus;
pub mod door;
pub mod expect;
pub mod id;
pub mod ledger;
pub mod outcome;
