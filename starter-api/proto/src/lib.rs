//! The gRPC contract of the starter: messages, client and server, generated from
//! `ordersaga/v1/orders.proto`.

/// Version 1.
pub mod v1 {
    tonic::include_proto!("ordersaga.v1");

    /// The encoded descriptor set, for reflection.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));
}
