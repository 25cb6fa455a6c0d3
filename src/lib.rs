//! tokenwarden finds stolen OAuth refresh tokens in the events of an authorization server.

pub mod model;

pub mod decode;
pub mod enrich;
pub mod rules;

pub mod engine;
pub mod respond;

pub mod actions;
pub mod sources;
pub mod store;

pub mod admin;
pub mod delivery;
pub mod pipeline;

pub mod app;
pub mod cli;
pub mod simulate;

pub mod clock;
pub mod config;
pub mod metrics;
pub mod telemetry;
pub mod yaml;
