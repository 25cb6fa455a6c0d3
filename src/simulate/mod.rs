//! People, apps and attackers, and the authorization server of the demo.
