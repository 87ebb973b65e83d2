//! The gRPC contract of the starter: messages, client and server, made of
//! `ordersaga/v1/orders.proto`.

/// Version 1.
pub mod v1 {
    tonic::include_proto!("ordersaga.v1");

    /// The contract itself, for whoever asks what there is.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));
}
