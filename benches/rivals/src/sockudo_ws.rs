//! sockudo-ws: `server_handshake`, then its `Stream` and `Sink`, as in its `simple_echo` example. With
//! permessage-deflate the handshake is written out, as in its own server for Autobahn:
//! `server_handshake` negotiates none.

use bytes::{Bytes, BytesMut};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request, server_handshake};
use sockudo_ws::{
    CompressedWebSocketStream, Config, DeflateConfig, Message, Role, WebSocketStream,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::connection::{self, run};
use crate::transport::Transport;
use crate::{Failure, Options, Work};

impl connection::Message for Message {
    fn binary(payload: Bytes) -> Self {
        Self::Binary(payload)
    }

    fn is_data(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Binary(_))
    }

    fn is_start(&self) -> bool {
        matches!(self, Self::Text(text) if text == "start")
    }

    fn is_close(&self) -> bool {
        matches!(self, Self::Close(_))
    }
}

pub(crate) async fn serve(
    mut stream: impl Transport,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let mut config = Config::builder();
    if let Some(size) = options.max_message {
        config = config.max_message_size(size).max_frame_size(size);
    }
    let config = config.build();
    if options.deflate {
        return serve_with_deflate(stream, config, options, work).await;
    }
    let leftover = server_handshake(&mut stream).await?.leftover;
    let connection =
        WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, leftover);
    run(connection, options, work).await
}

async fn serve_with_deflate(
    mut stream: impl Transport,
    config: Config,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let mut input = BytesMut::with_capacity(4096);
    let (consumed, negotiated) = loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        if let Some((request, consumed)) = parse_request(&input)? {
            let negotiated = request
                .extensions
                .and_then(|offers| negotiate_server_deflate(offers, &DeflateConfig::default()));
            let answer = negotiated.as_ref().map(|negotiated| negotiated.to_response_header());
            let accept = generate_accept_key(request.key);
            stream.write_all(&build_response(&accept, None, answer.as_deref())).await?;
            break (consumed, negotiated);
        }
    };
    let leftover = Some(input.split_off(consumed).freeze());
    match negotiated {
        Some(negotiated) => {
            let connection = CompressedWebSocketStream::server_with_leftover(
                stream,
                config,
                negotiated.config,
                leftover,
            );
            run(connection, options, work).await
        }
        None => {
            let role = Role::Server;
            let connection =
                WebSocketStream::from_raw_with_leftover(stream, role, config, leftover);
            run(connection, options, work).await
        }
    }
}
