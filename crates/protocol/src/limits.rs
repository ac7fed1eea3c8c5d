//! Every named maximum of a connection's protocol, with its reason.
//!
//! Nothing that a peer sends may make a connection hold or do more than these numbers say; what
//! happens when one is reached is written beside it. They are plain data that the embedder may
//! change and are passed by reference into each call, so a thousand connections share one copy.
//!
//! Limits that need a clock (time to the full request, pings per second, idle time, linger) or a
//! queue (bytes waiting to be sent) belong to the reactor and are not here.

/// What one connection may ask of the server's memory and time.
///
/// ```
/// use tickwire_protocol::Limits;
///
/// let mut limits = Limits::default();
/// limits.message_bytes_max = 64 * 1024;
/// assert_eq!(limits.request_headers_max, 64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest HTTP head in bytes, its final empty line included; a longer one is answered with
    /// 431. Browsers with large cookies stay below 8 KB, and so do the common proxies by default.
    /// Also the longest answer head that a client accepts.
    pub request_bytes_max: usize,
    /// Most header lines of a head; one more is answered with 431. At most
    /// [`Limits::HEADERS_CEILING`] is honoured. Browsers send about 15, proxies add about 10.
    pub request_headers_max: usize,
    /// Longest message in bytes, its fragments summed; a longer one fails the connection with
    /// Close 1009 as soon as a frame header declares it. 0 admits only empty messages. Of a
    /// compressed message it is what comes out: inflation stops one byte beyond. Its compressed
    /// bytes may be a quarter and 64 more, since compression can lengthen.
    pub message_bytes_max: u64,
    /// Most empty fragments within one message; one more fails the connection with Close 1008.
    /// An empty fragment brings nothing, so it costs its sender 6 bytes and us a turn of work
    /// that the message limit never counts. Fragments that carry bytes are bounded by
    /// `message_bytes_max` alone, since joining costs no memory each.
    pub empty_fragments_max: u32,
}

impl Limits {
    /// The number of header lines that `request_headers_max` can be raised to: their parsed form
    /// lies on the stack while a head is checked (32 bytes each).
    pub const HEADERS_CEILING: usize = 256;

    /// The limits that [`Limits::default`] gives.
    pub const DEFAULT: Self = Self {
        request_bytes_max: 8 * 1024,
        request_headers_max: 64,
        message_bytes_max: 1024 * 1024,
        empty_fragments_max: 1024,
    };
}

impl Default for Limits {
    /// 8 KB and 64 lines of head, messages of 1 MiB, 1,024 empty fragments.
    fn default() -> Self {
        Self::DEFAULT
    }
}
