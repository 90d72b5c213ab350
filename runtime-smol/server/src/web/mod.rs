//! The pages that the program serves to browsers: the console, and a page with a player.
//!
//! They are files in this folder, and are in the program as they are: HTML, CSS and JavaScript modules that need no build
//! step. They load nothing from other hosts and have no script or style in them, which the `Content-Security-Policy` demands
//! of browsers, and they never read a text as HTML, which it demands, too (`require-trusted-types-for`). So the name of a
//! stream, or what a client says of itself, is shown as it is.

#[cfg(feature = "webrtc")]
mod elsewhere;
mod pages;
mod site;

#[cfg(feature = "webrtc")]
pub(crate) use elsewhere::Elsewhere;
pub(crate) use pages::{Media, Page, Pages};
pub(crate) use site::{Site, WebCall};
