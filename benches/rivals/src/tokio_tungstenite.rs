//! tokio-tungstenite: `accept_async_with_config`, then its `Stream` and `Sink`, as in its
//! `autobahn-server` and `echo-server` examples. It has no permessage-deflate.

use bytes::Bytes;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::connection::{self, run};
use crate::transport::Transport;
use crate::{Failure, Options, Work};

impl connection::Message for Message {
    fn binary(payload: Bytes) -> Self {
        Self::Binary(payload)
    }

    fn is_data(&self) -> bool {
        self.is_text() || self.is_binary()
    }

    fn is_start(&self) -> bool {
        matches!(self, Self::Text(text) if text.as_str() == "start")
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
    let mut config = WebSocketConfig::default();
    if let Some(size) = options.max_message {
        config = config.max_message_size(Some(size)).max_frame_size(Some(size));
    }
    if let Some(size) = options.read_buffer {
        config = config.read_buffer_size(size);
    }
    run(accept_async_with_config(stream, Some(config)).await?, options, work).await
}
