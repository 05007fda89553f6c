//! order-total
