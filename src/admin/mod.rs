//! L4: HTTP: metrics, health, the API.
