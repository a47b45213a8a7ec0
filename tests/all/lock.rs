//! Locks of plugins, of plain clients, and of processes that are killed.

mod guard;
mod kill;
mod plain;
mod wake;
