//! The test binaries of this package stand in its folders; nothing is shared yet.
