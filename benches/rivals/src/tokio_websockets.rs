//! tokio-websockets: `ServerBuilder::accept`, then its `Stream` and `Sink`, as in its `echo_server`
//! example. It has no permessage-deflate.

use bytes::Bytes;
use tokio_websockets::{Config, Limits, Message, ServerBuilder};

use crate::connection::{self, run};
use crate::transport::Transport;
use crate::{Failure, Options, WRITE_BUFFER_BYTES, Work};

impl connection::Message for Message {
    fn binary(payload: Bytes) -> Self {
        Self::binary(payload)
    }

    fn is_data(&self) -> bool {
        self.is_text() || self.is_binary()
    }

    fn is_start(&self) -> bool {
        self.as_text() == Some("start")
    }

    fn is_close(&self) -> bool {
        self.is_close()
    }
}

pub(crate) async fn serve(
    stream: impl Transport,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let mut limits = Limits::default();
    if let Some(size) = options.max_message {
        limits = limits.max_payload_len(Some(size));
    }
    // Messages leave in one frame, as they came, and as those of all others here.
    let config = Config::default().frame_size(usize::MAX).flush_threshold(WRITE_BUFFER_BYTES);
    let (_, connection) = ServerBuilder::new().config(config).limits(limits).accept(stream).await?;
    run(connection, options, work).await
}
