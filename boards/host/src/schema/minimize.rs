//! The smallest automaton that accepts the same texts.
//!
//! Valmari, "Fast brief practical DFA minimization" (2012): blocks of states and cords of
//! transitions are split in turns, until all states of a block go on alike.

use super::dfa::Dfa;

/// Elements in sets, some of which are marked.
struct Partition {
    /// All elements, those of a set side by side, marked ones in front.
    elements: Vec<u32>,
    /// Where each element is.
    places: Vec<usize>,
    /// The set of each element.
    set_of: Vec<u32>,
    /// Where each set begins.
    first: Vec<usize>,
    /// Where each set ends.
    past: Vec<usize>,
    /// Marked elements of each set.
    marked: Vec<usize>,
    /// Sets with marked elements.
    touched: Vec<u32>,
}

impl Partition {
    /// Sets of neighbours, of which the last has the number `sets - 1`.
    fn new(elements: Vec<u32>, set_of: impl Fn(u32) -> u32, sets: usize) -> Self {
        let mut places = vec![0; elements.len()];
        let mut sizes = vec![0; sets];
        for (place, &element) in elements.iter().enumerate() {
            places[element as usize] = place;
            sizes[set_of(element) as usize] += 1;
        }
        let ends = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(*end)
        });
        let past: Vec<usize> = ends.collect();
        let first = past.iter().zip(&sizes).map(|(end, size)| end - size).collect();
        let set_of = (0..elements.len() as u32).map(set_of).collect();
        let touched = Vec::new();
        Self { elements, places, set_of, first, past, marked: vec![0; sets], touched }
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    fn set(&self, set: usize) -> std::ops::Range<usize> {
        self.first[set]..self.past[set]
    }

    /// Marks an element.
    fn mark(&mut self, element: u32) {
        let set = self.set_of[element as usize] as usize;
        let (from, to) = (self.places[element as usize], self.first[set] + self.marked[set]);
        if from < to {
            return;
        }
        self.elements.swap(from, to);
        self.places[self.elements[from] as usize] = from;
        self.places[element as usize] = to;
        if self.marked[set] == 0 {
            self.touched.push(set as u32);
        }
        self.marked[set] += 1;
    }

    /// Splits marked elements from others; the smaller half of a set becomes a new one.
    fn split(&mut self) {
        while let Some(set) = self.touched.pop() {
            let set = set as usize;
            let border = self.first[set] + std::mem::take(&mut self.marked[set]);
            if border == self.past[set] {
                continue;
            }
            let new = if border - self.first[set] <= self.past[set] - border {
                let first = std::mem::replace(&mut self.first[set], border);
                first..border
            } else {
                let past = std::mem::replace(&mut self.past[set], border);
                border..past
            };
            let number = self.first.len() as u32;
            for place in new.clone() {
                self.set_of[self.elements[place] as usize] = number;
            }
            self.first.push(new.start);
            self.past.push(new.end);
            self.marked.push(0);
        }
    }
}

/// A transition by one class of bytes that all states treat alike.
struct Edge {
    tail: u32,
    class: u32,
    head: u32,
}

/// Every transition, by class.
fn edges(dfa: &Dfa) -> Vec<Edge> {
    let transitions = || dfa.states.iter().flat_map(|state| &state.transitions);
    let mut is_border = [false; 257];
    for &(first, last, _) in transitions() {
        is_border[usize::from(first)] = true;
        is_border[usize::from(last) + 1] = true;
    }
    let borders: Vec<usize> = (0..257).filter(|&byte| is_border[byte]).collect();
    let mut edges = Vec::new();
    for (tail, state) in dfa.states.iter().enumerate() {
        for &(first, last, head) in &state.transitions {
            let from = borders.partition_point(|&border| border < usize::from(first));
            let to = borders.partition_point(|&border| border <= usize::from(last));
            let classes = from as u32..to as u32;
            edges.extend(classes.map(|class| Edge { tail: tail as u32, class, head }));
        }
    }
    edges.sort_by_key(|edge| edge.class);
    edges
}

/// The smallest automaton; its states are numbered by their distance from the first one.
pub fn minimize(dfa: &Dfa) -> Dfa {
    let edges = edges(dfa);
    // Numbers of classes without a gap.
    let mut labels = vec![0; edges.len()];
    for i in 1..edges.len() {
        labels[i] = labels[i - 1] + u32::from(edges[i].class != edges[i - 1].class);
    }
    let mut into = vec![Vec::new(); dfa.states.len()];
    for (number, edge) in edges.iter().enumerate() {
        into[edge.head as usize].push(number as u32);
    }
    let everything = (0..dfa.states.len() as u32).collect();
    let mut blocks = Partition::new(everything, |_| 0, usize::from(!dfa.states.is_empty()));
    for number in (0..dfa.states.len()).filter(|&number| dfa.states[number].accepts) {
        blocks.mark(number as u32);
    }
    blocks.split();
    let sets = labels.last().map_or(0, |last| *last as usize + 1);
    let everything = (0..edges.len() as u32).collect();
    let mut cords = Partition::new(everything, |edge| labels[edge as usize], sets);
    let (mut block, mut cord) = (1, 0);
    while cord < cords.len() {
        for place in cords.set(cord) {
            blocks.mark(edges[cords.elements[place] as usize].tail);
        }
        blocks.split();
        cord += 1;
        while block < blocks.len() {
            for place in blocks.set(block) {
                into[blocks.elements[place] as usize].iter().for_each(|&edge| cords.mark(edge));
            }
            cords.split();
            block += 1;
        }
    }
    let representative = |state: u32| {
        let set = blocks.set_of[state as usize] as usize;
        Some(blocks.elements[blocks.first[set]])
    };
    dfa.renumbered(representative)
}
