//! Events, in their newer form: the messages of `events.k8s.io/v1`.

use super::core::{EventSource, ObjectReference};
use super::messages;
use super::meta::ObjectMeta;

messages! {
    package "io.k8s.api.events.v1";

    Event {
        1 metadata: ObjectMeta, 2 eventTime: MicroTime, 3 series: EventSeries,
        4 reportingController: string nonempty, 5 reportingInstance: string nonempty,
        6 action: string nonempty, 7 reason: string nonempty, 8 regarding: ObjectReference nonempty,
        9 related: ObjectReference, 10 note: string nonempty, 11 type: string nonempty,
        12 deprecatedSource: EventSource nonempty, 13 deprecatedFirstTimestamp: Time nonempty,
        14 deprecatedLastTimestamp: Time nonempty, 15 deprecatedCount: int nonempty,
    }
    EventSeries { 1 count: int, 2 lastObservedTime: MicroTime }
}
