//! `Scale`, and the first form of HorizontalPodAutoscaler: the messages of `autoscaling/v1`.

use super::messages;
use super::meta::ObjectMeta;

messages! {
    package "io.k8s.api.autoscaling.v1";

    CrossVersionObjectReference { 1 kind: string, 2 name: string, 3 apiVersion: string nonempty }
    HorizontalPodAutoscaler {
        1 metadata: ObjectMeta nonempty, 2 spec: HorizontalPodAutoscalerSpec nonempty,
        3 status: HorizontalPodAutoscalerStatus nonempty,
    }
    HorizontalPodAutoscalerSpec {
        1 scaleTargetRef: CrossVersionObjectReference, 2 minReplicas: int, 3 maxReplicas: int,
        4 targetCPUUtilizationPercentage: int,
    }
    HorizontalPodAutoscalerStatus {
        1 observedGeneration: int, 2 lastScaleTime: Time, 3 currentReplicas: int, 4 desiredReplicas: int,
        5 currentCPUUtilizationPercentage: int,
    }
    Scale { 1 metadata: ObjectMeta nonempty, 2 spec: ScaleSpec nonempty, 3 status: ScaleStatus nonempty }
    ScaleSpec { 1 replicas: int nonempty }
    ScaleStatus { 1 replicas: int, 2 selector: string nonempty }
}
