//! What a piece of work on local servers brought, and what there is to tell of it.

/// What a step has to tell beside that it went well.
pub(crate) struct Told<T> {
    pub(crate) value: T,
    pub(crate) detail: String,
}

impl<T> Told<T> {
    /// A value and nothing to say.
    pub(crate) fn quietly(value: T) -> Self {
        Self { value, detail: String::new() }
    }
}
