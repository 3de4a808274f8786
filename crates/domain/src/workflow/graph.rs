//! The graph of steps: what has to come before what. Deliberately absent: states; a graph is the same
//! before anything ran and when everything has.

use std::collections::{BTreeMap, BTreeSet};

use kubernaut_api::workflow::{MAX_STEPS, Step};
use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};

/// Steps and their edges, from a step to those that depend on it.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    graph: DiGraph<&'a str, ()>,
    nodes: BTreeMap<&'a str, NodeIndex>,
}

impl<'a> Graph<'a> {
    /// The graph of sound steps; refuses none and too many of them, double names, dependencies that do not exist,
    /// and circles (R5.1). The text begins with the field.
    pub fn of(steps: &'a [Step]) -> Result<Self, String> {
        if steps.is_empty() || steps.len() > MAX_STEPS {
            return Err(format!("spec.steps: must be 1 to {MAX_STEPS} steps, not {}", steps.len()));
        }
        let mut graph = DiGraph::new();
        let mut nodes = BTreeMap::new();
        for step in steps {
            if nodes.insert(step.name.as_str(), graph.add_node(step.name.as_str())).is_some() {
                return Err(format!("spec.steps: the name {} stands twice", step.name));
            }
        }
        for step in steps {
            for before in &step.depends_on {
                let Some(node) = nodes.get(before.as_str()) else {
                    return Err(format!("spec.steps[{}].dependsOn: there is no step {before}", step.name));
                };
                graph.update_edge(*node, nodes[step.name.as_str()], ());
            }
        }
        let this = Self { graph, nodes };
        let circle = this.circle();
        if circle.is_empty() {
            Ok(this)
        } else {
            Err(format!("spec.steps: dependsOn goes in a circle among {}", circle.join(", ")))
        }
    }

    /// Steps that depend on themselves, the ones of the first circle.
    fn circle(&self) -> Vec<&'a str> {
        let loops = |nodes: &Vec<NodeIndex>| nodes.len() > 1 || self.graph.contains_edge(nodes[0], nodes[0]);
        let mut circle: Vec<_> = tarjan_scc(&self.graph)
            .into_iter()
            .find(loops)
            .unwrap_or_default()
            .iter()
            .map(|node| self.graph[*node])
            .collect();
        circle.sort_unstable();
        circle
    }

    /// All that has to come before a step, directly or not.
    pub fn before(&self, step: &str) -> BTreeSet<&'a str> {
        self.reach(step, Direction::Incoming)
    }

    /// All that comes after a step, directly or not.
    pub fn after(&self, step: &str) -> BTreeSet<&'a str> {
        self.reach(step, Direction::Outgoing)
    }

    fn reach(&self, step: &str, direction: Direction) -> BTreeSet<&'a str> {
        let Some(start) = self.nodes.get(step).copied() else { return BTreeSet::new() };
        let mut reached = BTreeSet::new();
        match direction {
            Direction::Outgoing => {
                let mut search = Dfs::new(&self.graph, start);
                while let Some(node) = search.next(&self.graph) {
                    reached.insert(self.graph[node]);
                }
            }
            Direction::Incoming => {
                let reversed = Reversed(&self.graph);
                let mut search = Dfs::new(reversed, start);
                while let Some(node) = search.next(reversed) {
                    reached.insert(self.graph[node]);
                }
            }
        }
        reached.remove(step);
        reached
    }
}
