//! Requests that wait for a connection of one endpoint, first come, first served.
//!
//! Whoever has something for them hands it to the first; a request that is given up while something is on its way to
//! it passes that on, so nothing is lost between the two.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::oneshot;

/// Those who wait, by the number that they drew.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<T>>>,
    next: Cell<u64>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: RefCell::default(),
            next: Cell::default(),
        }
    }
}

impl<T> Queue<T> {
    /// A number; it keeps its place in the order whenever it waits.
    pub(crate) fn draw(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Gives something to the first who waits; it comes back when nobody does.
    pub(crate) fn hand(&self, mut something: T) -> Result<(), T> {
        loop {
            let Some((_, first)) = self.waiting.borrow_mut().pop_first() else {
                return Err(something);
            };
            match first.send(something) {
                Ok(()) => return Ok(()),
                Err(back) => something = back,
            }
        }
    }

    /// Gives something to everybody who waits now.
    pub(crate) fn hand_all(&self, mut make: impl FnMut() -> T) {
        for first in std::mem::take(&mut *self.waiting.borrow_mut()).into_values() {
            let _ = first.send(make());
        }
    }

    /// Waits with a number that was drawn. When the wait is given up, what was on its way goes to `pass_on`.
    pub(crate) async fn wait(self: &Rc<Self>, number: u64, pass_on: impl Fn(T)) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(number, sender);
        let mut place = Place {
            queue: self,
            number,
            receiver,
            pass_on,
        };
        (&mut place.receiver).await.ok()
    }
}

struct Place<'q, T, P: Fn(T)> {
    queue: &'q Queue<T>,
    number: u64,
    receiver: oneshot::Receiver<T>,
    pass_on: P,
}

impl<T, P: Fn(T)> Drop for Place<'_, T, P> {
    fn drop(&mut self) {
        self.queue.waiting.borrow_mut().remove(&self.number);
        if let Ok(something) = self.receiver.try_recv() {
            (self.pass_on)(something);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_first_is_served_first_and_nothing_is_lost_when_one_gives_up() {
        let queue: Rc<Queue<u8>> = Rc::default();
        let lost = Cell::new(0);
        let wait = |number| {
            let again = queue.clone();
            let lost = &lost;
            let queue = queue.clone();
            Box::pin(async move {
                let pass_on =
                    |something| lost.set(lost.get() + again.hand(something).map_or_else(|back| back, |()| 0));
                queue.wait(number, pass_on).await
            })
        };
        let (first, second, third) = (queue.draw(), queue.draw(), queue.draw());
        // In another order than they drew.
        let mut waits = [wait(second), wait(first), wait(third)];
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
        assert_eq!(queue.hand(1), Ok(()));
        let [mut two, one, mut three] = waits;
        // It was for the first, who goes away without having looked.
        drop(one);
        assert_eq!(two.as_mut().now_or_never(), Some(Some(1)));
        assert_eq!(queue.hand(2), Ok(()));
        assert_eq!(three.as_mut().now_or_never(), Some(Some(2)));
        assert_eq!((queue.hand(3), queue.is_empty(), lost.get()), (Err(3), true, 0));
    }
}
