//! Accidents that meet: who is cut off starts anew meanwhile, and who has just died dies again.
//!
//! What a node believes on its own shows when nobody is there to contradict it.

use super::Draft;
use super::book::{Span, Thing};
use super::episode::{Absence, End};
use crate::drill::action::Fault;
use crate::node::Node;

impl Draft<'_> {
    /// Draws such an episode and writes it down, if there is time and place for it; gives its name. `turn` decides the
    /// kind, so that every plan has some of each.
    pub(super) fn compound(&mut self, turn: u32) -> Option<&'static str> {
        match turn % 4 {
            0 => self.edges_cut_off(),
            1 => self.restarts_alone(),
            2 => self.edges_restart_beside_one_behind(),
            _ => self.short_deaths(),
        }
    }

    fn kill_or_power_cut(&mut self) -> End {
        if self.one_in(2) { End::Kill } else { End::PowerCut }
    }

    /// Each voter in turn is cut off, with what it has proposed last, and starts anew before it hears of anybody. One of
    /// them has led.
    fn restarts_alone(&mut self) -> Option<&'static str> {
        let (voters, edges) = (self.voters(), self.edges.clone());
        let (begin, count) = (self.sometime(), voters.len());
        let mut at = begin;
        let mut absences = Vec::new();
        let mut cuts = Vec::new();
        for node in self.some(&voters, count) {
            let (alone, down, after) = (self.millis(500, 1_500), self.millis(20, 600), self.millis(1_200, 2_500));
            // Edges may still reach it, or not.
            let others = if self.one_in(2) { [voters.as_slice(), &edges].concat() } else { voters.clone() };
            let others: Vec<Node> = others.into_iter().filter(|other| *other != node).collect();
            let cut = Span { from: at, to: at + alone + down + after };
            let end = self.kill_or_power_cut();
            cuts.push((cut, node.clone(), others));
            absences.push(Absence { node, end, span: Span { from: at + alone, to: at + alone + down } });
            at = cut.to + self.millis(300, 1_000);
        }
        if count < 2 || !self.book.is_free(&Thing::Network, Span { from: begin, to: at }) {
            return None;
        }
        self.book_voters(cuts.iter().map(|(cut, node, _)| (node.clone(), *cut)), self.majority_away_max)?;
        self.away(&absences, self.majority_away_max)?;
        self.book.take(Thing::Network, Span { from: begin, to: at });
        for (cut, node, others) in cuts {
            self.push(cut.from, Fault::Partition { from: vec![node], to: others, one_way: false });
            self.push(cut.to, Fault::HealNetwork);
        }
        Some("restarted while cut off")
    }

    /// A voter falls behind the others, and edges that know more than it does start anew.
    fn edges_restart_beside_one_behind(&mut self) -> Option<&'static str> {
        let node = self.voter()?;
        let others: Vec<Node> = self.voters().into_iter().filter(|voter| *voter != node).collect();
        let (from, long) = (self.sometime(), self.millis(5_000, 11_000));
        let span = Span { from, to: from + long };
        let edges = self.edges.clone();
        let mut absences = Vec::new();
        for node in self.some(&edges, 3) {
            let from = from + long / 2 + self.millis(0, 1_500);
            let (end, down) = (self.kill_or_power_cut(), self.millis(20, 600));
            absences.push(Absence { node, end, span: Span { from, to: from + down } });
        }
        if others.is_empty() || !self.book.is_free(&Thing::Network, span) {
            return None;
        }
        self.book_voters(std::iter::once((node.clone(), span)), self.majority_away_max)?;
        self.away(&absences, self.majority_away_max)?;
        self.book.take(Thing::Network, span);
        self.push(from, Fault::Partition { from: vec![node], to: others, one_way: false });
        self.push(span.to, Fault::HealNetwork);
        Some("edges restarted beside a voter that is behind")
    }

    /// One after the other dies, and is back before anybody has missed it.
    fn short_deaths(&mut self) -> Option<&'static str> {
        let nodes = if self.one_in(2) { self.edges.clone() } else { self.voters() };
        let mut at = self.sometime();
        let mut absences = Vec::new();
        for node in nodes {
            let (end, down, gap) = (self.kill_or_power_cut(), self.millis(1, 120), self.millis(300, 1_500));
            absences.push(Absence { node, end, span: Span { from: at, to: at + down } });
            at += down + gap;
        }
        self.away(&absences, self.majority_away_max).map(|()| "short deaths")
    }

    /// Edges hear nothing more, and the connections stay. Voters are left alone: they go on deciding what these edges do
    /// not hear of.
    fn edges_cut_off(&mut self) -> Option<&'static str> {
        let (voters, edges) = (self.voters(), self.edges.clone());
        let (from, long) = (self.sometime(), self.millis(2_500, 6_000));
        let span = Span { from, to: from + long };
        let to = self.some(&edges, 2);
        let mut things: Vec<Thing> = voters.iter().chain(&to).cloned().map(Thing::Host).collect();
        things.push(Thing::Network);
        if to.is_empty() || !things.iter().all(|thing| self.book.is_free(thing, span)) {
            return None;
        }
        for thing in things {
            self.book.take(thing, span);
        }
        self.push(from, Fault::Partition { from: voters, to, one_way: true });
        self.push(span.to, Fault::HealNetwork);
        Some("edges hear nothing")
    }
}
