//! axum: a router with one route, its `WebSocketUpgrade` extractor, then its `Stream` and `Sink`. It
//! is tungstenite inside, and has no permessage-deflate.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use crate::connection::{self, run};
use crate::transport::Transport;
use crate::upgrade::Handover;
use crate::{Failure, Options, Work};

impl connection::Message for Message {
    fn binary(payload: Bytes) -> Self {
        Self::Binary(payload)
    }

    fn is_data(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Binary(_))
    }

    fn is_start(&self) -> bool {
        matches!(self, Self::Text(text) if text.as_str() == "start")
    }

    fn is_close(&self) -> bool {
        matches!(self, Self::Close(_))
    }
}

/// Serves one connection as `axum::serve` does; the listener is this program's.
pub(crate) async fn serve(
    stream: impl Transport,
    options: Options,
    work: Work,
) -> Result<(), Failure> {
    let state = (Arc::new(Handover::new(work)), options);
    let router = Router::new().route("/{*path}", any(upgrade)).route("/", any(upgrade));
    let service = TowerToHyperService::new(router.with_state(state));
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?;
    Ok(())
}

async fn upgrade(
    State((work, options)): State<(Arc<Handover>, Options)>,
    mut upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(size) = options.max_message {
        upgrade = upgrade.max_message_size(size).max_frame_size(size);
    }
    if let Some(size) = options.read_buffer {
        upgrade = upgrade.read_buffer_size(size);
    }
    upgrade.on_upgrade(async move |connection| {
        if let Some(work) = work.take() {
            // What a peer did wrong is no news.
            let _ = run(connection, options, work).await;
        }
    })
}
