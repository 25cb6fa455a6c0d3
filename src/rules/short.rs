//! Lists of which there are millions, most of them of one or two entries.
//!
//! Left to itself a `Vec` begins with room for four and doubles, so that most of the room would stand empty for good. These
//! begin with what they hold and grow by a half, which costs the few long ones some more copies.

use std::collections::VecDeque;

/// Asked before an entry comes.
pub(super) trait Short {
    fn make_room(&mut self);
}

macro_rules! short {
    ($($list:ident),*) => {$(
        impl<T> Short for $list<T> {
            fn make_room(&mut self) {
                if self.len() == self.capacity() {
                    self.reserve_exact((self.len() / 2).max(1));
                }
            }
        }
    )*};
}

short!(Vec, VecDeque);

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms<L: Short + Default>(push: fn(&mut L), room: fn(&L) -> usize) -> Vec<usize> {
        let mut list = L::default();
        let rooms = (0..100).map(|_| {
            list.make_room();
            push(&mut list);
            room(&list)
        });
        rooms.collect()
    }

    #[test]
    fn a_third_of_the_room_at_most_stands_empty_and_long_lists_are_copied_seldom() {
        let of_list = rooms::<Vec<u64>>(|list| list.push(7), Vec::capacity);
        assert_eq!(of_list[..6], [1, 2, 3, 4, 6, 6]);
        let copies = of_list.windows(2).filter(|pair| pair[0] != pair[1]);
        assert!(copies.count() < 15, "{of_list:?}");
        let of_queue = rooms::<VecDeque<u64>>(|list| list.push_back(7), VecDeque::capacity);
        assert_eq!(of_queue, of_list);
    }
}
