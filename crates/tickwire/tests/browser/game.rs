//! The game: players see each other move, and who comes and goes.

use crate::{enter, look_at, two_browsers};

#[path = "../../examples/game.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
#[expect(clippy::module_inception, reason = "it is the example of this name")]
mod game;

#[test]
fn two_players_see_each_other_move() {
    let Some([ada, bob]) = two_browsers() else { return };
    let server = game::start("127.0.0.1:0").expect("a port of this machine");
    let page = format!("http://{}/", server.local_addr());
    enter(&ada, &page, "Ada");
    enter(&bob, &page, "Bob");
    for browser in [&ada, &bob] {
        browser.wait_until("document.querySelectorAll('#scores li').length === 2");
        browser.wait_until("/Ada/.test(document.getElementById('scores').innerText)");
        browser.wait_until("/Bob/.test(document.getElementById('scores').innerText)");
        // Of two, one is it.
        browser.wait_until("tag.picture.it !== 255");
    }
    let ada_id: u8 = ada.run("return tag.me");
    assert_ne!(ada_id, bob.run::<u8>("return tag.me"));

    // To one wall and to the other: Bob sees Ada there, wherever she began.
    let ada_is = |place: &str| format!("tag.picture.players.get({ada_id}).x {place}");
    ada.hold("ArrowLeft", true);
    bob.wait_until(&ada_is("< 60"));
    ada.hold("ArrowLeft", false);
    ada.hold("KeyD", true);
    bob.wait_until(&ada_is("> 1540"));
    ada.hold("KeyD", false);
    look_at(&bob, "game");

    drop(ada);
    bob.wait_until("document.querySelectorAll('#scores li').length === 1");
    bob.wait_until("tag.picture.it === 255");
    assert_eq!(bob.complaints(), Vec::<String>::new());
}
