//! Everything but pods: Services, workloads, rights, and what is kept for others.

use super::Entry;

pub(super) const MESSAGES: &[Entry] = &[
    (
        "Service",
        "An address and a name for a set of pods.",
        &[
            ("spec", "Which pods, and how they are reached."),
            ("status", "What the outside was given."),
        ],
    ),
    (
        "ServiceSpec",
        "Which pods a Service stands for, and how they are reached.",
        &[
            (
                "selector",
                "Labels of the pods. Without one, somebody else writes the endpoints.",
            ),
            ("ports", "The ports of the Service."),
            (
                "type",
                "ClusterIP, NodePort, LoadBalancer or ExternalName. Default ClusterIP.",
            ),
            (
                "clusterIP",
                "The address inside the cluster; None for a headless Service.",
            ),
            ("clusterIPs", "All addresses inside the cluster."),
            ("externalName", "The name that an ExternalName stands for."),
            (
                "sessionAffinity",
                "ClientIP sends a client to the same pod again. Default None.",
            ),
            (
                "internalTrafficPolicy",
                "Cluster, or Local to use pods of the client's node alone.",
            ),
            (
                "externalTrafficPolicy",
                "The same for clients outside of the cluster.",
            ),
            (
                "publishNotReadyAddresses",
                "Whether pods that are not ready count too.",
            ),
            ("ipFamilies", "IPv4, IPv6 or both."),
            ("loadBalancerClass", "Who makes the load balancer."),
        ],
    ),
    (
        "ServicePort",
        "A port of a Service.",
        &[
            ("port", "The number that clients use."),
            ("targetPort", "Number or name of the pods' port. Default: port."),
            (
                "nodePort",
                "The number on each node, for NodePort and LoadBalancer.",
            ),
            ("name", "The name; needed when there is more than one port."),
            (
                "appProtocol",
                "What is spoken on the port, for example http or kubernetes.io/h2c.",
            ),
        ],
    ),
    (
        "ConfigMap",
        "Configuration as names and values.",
        &[
            ("data", "Entries of text."),
            ("binaryData", "Entries of any bytes, in base64."),
            ("immutable", "Whether the entries may never be changed."),
        ],
    ),
    (
        "Secret",
        "Names and values that not everybody should see.",
        &[
            ("data", "The entries, in base64."),
            ("stringData", "Entries as plain text; moved to data on writing."),
            (
                "type",
                "What the entries are for, for example kubernetes.io/tls. Default Opaque.",
            ),
            ("immutable", "Whether the entries may never be changed."),
        ],
    ),
    ("ServiceAccount", "Who a pod is to the API server.", &[]),
    ("Node", "A machine that runs pods.", &[]),
    (
        "NodeSpec",
        "How a node may be used.",
        &[
            (
                "unschedulable",
                "Whether no new pods come to it; set by kubectl cordon.",
            ),
            ("taints", "What keeps pods away that do not tolerate it."),
        ],
    ),
    (
        "Event",
        "Something that happened to an object.",
        &[
            ("involvedObject", "The object that it happened to."),
            ("regarding", "The object that it happened to."),
            ("note", "What happened, in words for people."),
            ("type", "Normal or Warning."),
            ("count", "How often."),
        ],
    ),
    (
        "Deployment",
        "A number of equal pods, replaced step by step when their template changes.",
        &[("spec", "How many pods, and what they look like.")],
    ),
    (
        "DeploymentSpec",
        "How many pods there are, what they look like and how they are replaced.",
        &[
            ("replicas", "The number of pods. Default 1."),
            (
                "selector",
                "Which pods belong to the Deployment; must match the template's labels and cannot be changed.",
            ),
            ("strategy", "How old pods are replaced by new ones."),
            ("paused", "Whether changes of the template wait."),
            (
                "progressDeadlineSeconds",
                "How long there may be no progress before the rollout counts as failed. Default 600.",
            ),
        ],
    ),
    (
        "DeploymentStrategy",
        "How old pods are replaced by new ones.",
        &[
            (
                "type",
                "RollingUpdate, or Recreate to end all old ones first. Default RollingUpdate.",
            ),
            (
                "rollingUpdate",
                "How many pods may be missing or too many meanwhile.",
            ),
        ],
    ),
    (
        "RollingUpdateDeployment",
        "How many pods may be missing or too many during a rollout.",
        &[
            (
                "maxUnavailable",
                "How many may be missing, as a number or share. Default 25%.",
            ),
            ("maxSurge", "How many may be there beyond replicas. Default 25%."),
        ],
    ),
    (
        "ReplicaSet",
        "A number of equal pods. Usually made by a Deployment.",
        &[],
    ),
    (
        "StatefulSet",
        "Pods with stable names, started and ended in order.",
        &[],
    ),
    (
        "StatefulSetSpec",
        "How many pods there are, and in which order they come and go.",
        &[
            (
                "serviceName",
                "The headless Service under which each pod has a name.",
            ),
            (
                "podManagementPolicy",
                "OrderedReady or Parallel. Default OrderedReady.",
            ),
            ("volumeClaimTemplates", "Claims of volumes that each pod gets."),
            (
                "updateStrategy",
                "How pods are replaced when the template changes.",
            ),
            ("ordinals", "The number of the first pod."),
        ],
    ),
    (
        "DaemonSet",
        "One pod on every node, or on every selected one.",
        &[],
    ),
    ("Job", "Pods that run until a number of them has succeeded.", &[]),
    (
        "JobSpec",
        "How often a Job's pods must succeed, and how often they may fail.",
        &[
            ("completions", "How many pods must succeed. Default 1."),
            ("parallelism", "How many may run at once. Default 1."),
            ("backoffLimit", "How many failures there may be. Default 6."),
            ("activeDeadlineSeconds", "How long the Job may take."),
            (
                "ttlSecondsAfterFinished",
                "How long after its end the Job is deleted.",
            ),
            (
                "completionMode",
                "NonIndexed, or Indexed to give each pod a number.",
            ),
            ("suspend", "Whether no pods run for now."),
        ],
    ),
    ("CronJob", "A Job that is started on a schedule.", &[]),
    (
        "CronJobSpec",
        "When Jobs are started, and what they look like.",
        &[
            (
                "schedule",
                "Minute, hour, day of the month, month and day of the week, as in cron.",
            ),
            (
                "concurrencyPolicy",
                "What happens when the last Job still runs: Allow, Forbid or Replace.",
            ),
            ("jobTemplate", "The Jobs that are made."),
            ("timeZone", "The time zone of the schedule."),
        ],
    ),
    ("Ingress", "Rules that bring HTTP from outside to Services.", &[]),
    ("NetworkPolicy", "Which traffic pods may receive and send.", &[]),
    (
        "PodDisruptionBudget",
        "How many pods of a set may be evicted at once.",
        &[],
    ),
    (
        "Role",
        "Rights in one namespace.",
        &[("rules", "What is allowed.")],
    ),
    (
        "ClusterRole",
        "Rights in the whole cluster, or in whichever namespace they are given.",
        &[("rules", "What is allowed.")],
    ),
    (
        "PolicyRule",
        "What is allowed: verbs on resources.",
        &[
            (
                "verbs",
                "get, list, watch, create, update, patch, delete, or * for all.",
            ),
            ("apiGroups", "Groups of the resources; \"\" is the core group."),
            ("resources", "Resources, for example pods or pods/log."),
            ("resourceNames", "Names of the objects; all when empty."),
            ("nonResourceURLs", "Paths beside resources, for example /healthz."),
        ],
    ),
    (
        "RoleBinding",
        "Who has the rights of a role, in one namespace.",
        &[
            ("roleRef", "The role. It cannot be changed."),
            ("subjects", "Users, groups and ServiceAccounts."),
        ],
    ),
    (
        "ClusterRoleBinding",
        "Who has the rights of a ClusterRole, everywhere.",
        &[
            ("roleRef", "The role. It cannot be changed."),
            ("subjects", "Users, groups and ServiceAccounts."),
        ],
    ),
    (
        "Lease",
        "A claim that is renewed, or else lost: for leaders and for nodes.",
        &[],
    ),
    ("EndpointSlice", "Addresses of a Service's pods.", &[]),
    (
        "HorizontalPodAutoscaler",
        "Bounds between which the number of pods follows their load.",
        &[],
    ),
    (
        "PersistentVolumeClaim",
        "A wish for a volume that outlives pods.",
        &[],
    ),
    ("PersistentVolume", "A volume that outlives pods.", &[]),
    ("StorageClass", "How volumes are made for claims.", &[]),
    ("ResourceQuota", "How much a namespace may use.", &[]),
    (
        "LimitRange",
        "Bounds and defaults for what containers ask for.",
        &[],
    ),
    ("PriorityClass", "How important pods are.", &[]),
];
