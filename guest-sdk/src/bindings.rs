//! The world `operation` as wit-bindgen generates it. Authors use [`operation!`](crate::operation!) instead.
#![expect(missing_docs, clippy::same_length_and_capacity, reason = "generated")]

wit_bindgen::generate!({
    path: "../wit/operation",
    world: "operation",
    pub_export_macro: true,
    default_bindings_module: "$crate::bindings",
});
