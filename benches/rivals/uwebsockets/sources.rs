//! Empty: the package is a place for a dependency.
