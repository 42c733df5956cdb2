//! The Martlet broker as a library: the driver around the engine, listeners and configuration.
