//! With what limits a life is lived: small ones, so that storms reach them.
//!
//! Each is one of a few values from the seed. Among them are the defaults where time alone decides,
//! and always values at which whatever is limited happens within some hundred steps.

use std::time::Duration;

use tickwire_reactor::{Balance, Config, Deflate, Limits};

use crate::fault::Fault;
use crate::random::Random;

pub(super) fn config(random: &mut Random, fault: Option<Fault>) -> Config {
    let mut config = Config::default();
    config.shards = 1 + random.below(4);
    config.limits = limits(random);
    config.balance = random.pick(&[Balance::Kernel, Balance::LeastLoaded]);
    config.deflate = match random.below(3) {
        0 => None,
        1 => Some(Deflate::shared()),
        _ => {
            let mut deflate = Deflate::dedicated(2);
            // Less to clear for each connection.
            deflate.window_bits = random.pick(&[9, 12]);
            deflate.mem_level = 2;
            Some(deflate)
        }
    };
    if matches!(fault, Some(Fault::EndEarly | Fault::LiveOn)) {
        config.limits.life_max = Some(Duration::from_secs(20));
    }
    config
}

/// Has the engine live by other limits than the ledger knows, where that is the fault.
pub(super) fn spoil(config: &mut Config, fault: Option<Fault>) {
    match fault {
        Some(Fault::EndEarly) => config.limits.life_max = Some(Duration::from_secs(17)),
        Some(Fault::LiveOn) => config.limits.life_max = None,
        _ => {}
    }
}

fn limits(random: &mut Random) -> Limits {
    let mut limits = Limits::default();
    let seconds = |random: &mut Random, choices: &[u64]| Duration::from_secs(random.pick(choices));
    limits.protocol.message_bytes_max = 16 * 1024;
    limits.connections_max = random.pick(&[6, 30, 1_000]);
    limits.connections_per_address_max = random.pick(&[None, None, Some(5)]);
    limits.accepts_per_second_max = random.pick(&[None, None, Some(50)]);
    limits.outgoing_max = random.pick(&[2, 10]);
    limits.pings_per_second_max = random.pick(&[20, 100]);
    limits.ping_after = seconds(random, &[3, 20]);
    limits.pong_timeout = seconds(random, &[3, 20]);
    limits.message_timeout = seconds(random, &[5, 60]);
    limits.close_timeout = seconds(random, &[2, 5]);
    limits.life_max = random.pick(&[None, None, Some(20), Some(90)]).map(Duration::from_secs);
    limits.shutdown_timeout = seconds(random, &[1, 5]);
    limits.unsent_pause_bytes = random.pick(&[500, 2 * 1024]);
    limits.unsent_bytes_max = random.pick(&[40 * 1024, 200 * 1024]);
    limits.patterns_per_connection_max = random.pick(&[2, 64]);
    limits.pattern_topics_max = random.pick(&[6, 4_096, 4_096]);
    limits.mailbox_letters_max = random.pick(&[16, 200, 4_096]);
    limits.letters_per_turn_max = random.pick(&[2, 30, 1_024]);
    limits.log_entries_max = random.pick(&[8, 64, 1_000]);
    limits.log_bytes_max = random.pick(&[20 * 1024, 100 * 1024]);
    limits.memory_max = random.pick(&[None, None, Some(200_000)]);
    limits
}
