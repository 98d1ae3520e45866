//! Checks of an exporter: the suite plays the server.
