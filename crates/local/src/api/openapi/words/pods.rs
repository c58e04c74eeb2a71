//! Pods: their containers, probes and volumes, and what every object has.

use super::Entry;

pub(super) const MESSAGES: &[Entry] = &[
    (
        "ObjectMeta",
        "What every object has beside its own fields.",
        &[
            (
                "name",
                "The name, unique among objects of the kind in the namespace. It cannot be changed.",
            ),
            (
                "generateName",
                "The beginning of a name; the server adds five letters when the name is empty.",
            ),
            (
                "namespace",
                "The namespace; empty for kinds that stand outside of namespaces.",
            ),
            (
                "labels",
                "Names and values by which other objects select this one.",
            ),
            (
                "annotations",
                "Names and values for tools and people. They cannot be selected by.",
            ),
            ("uid", "The unique identity, given by the server."),
            (
                "resourceVersion",
                "Changes with every write. A write that carries an old one is refused.",
            ),
            ("generation", "Counts the changes of the spec."),
            ("creationTimestamp", "When the object was made."),
            (
                "deletionTimestamp",
                "When the object will be gone; set by a deletion that has to wait.",
            ),
            ("deletionGracePeriodSeconds", "How long it may take to end."),
            (
                "finalizers",
                "Who must act before the object may go. It stays until the list is empty.",
            ),
            (
                "ownerReferences",
                "The objects that this one belongs to. When all of them are gone, it goes too.",
            ),
            (
                "managedFields",
                "Which fields were set by whom. Kept by the server for server-side apply.",
            ),
            ("selfLink", "No longer used."),
        ],
    ),
    (
        "OwnerReference",
        "An object that another one belongs to.",
        &[
            (
                "controller",
                "Whether the owner is the one that acts for the object.",
            ),
            (
                "blockOwnerDeletion",
                "Whether a deletion of the owner in the foreground waits for the object.",
            ),
        ],
    ),
    (
        "LabelSelector",
        "A query over labels. An empty one selects everything.",
        &[],
    ),
    (
        "LabelSelectorRequirement",
        "A condition on one label.",
        &[
            ("key", "The name of the label."),
            ("operator", "In, NotIn, Exists or DoesNotExist."),
            ("values", "The values for In and NotIn."),
        ],
    ),
    (
        "Namespace",
        "A room for names: objects in different namespaces may have the same name.",
        &[],
    ),
    (
        "Pod",
        "Containers that run together on one node and share its network address and volumes.",
        &[
            ("spec", "The containers, and how they run."),
            ("status", "Where the pod stands, as its node last said."),
        ],
    ),
    (
        "PodTemplateSpec",
        "What new pods look like.",
        &[
            ("metadata", "Labels and annotations of the pods."),
            ("spec", "Their containers, and how they run."),
        ],
    ),
    (
        "PodSpec",
        "The containers of a pod, and how they run.",
        &[
            (
                "containers",
                "The containers that run side by side. At least one; they can be neither added nor removed later.",
            ),
            (
                "initContainers",
                "Containers that run one after the other before the others start. One with restartPolicy Always keeps running beside them: a sidecar.",
            ),
            (
                "ephemeralContainers",
                "Containers added to a running pod to look into it.",
            ),
            ("volumes", "Directories that the containers may mount."),
            (
                "restartPolicy",
                "When an ended container is started again: Always, OnFailure or Never. Default Always.",
            ),
            (
                "terminationGracePeriodSeconds",
                "How long containers may take to end after SIGTERM. Default 30.",
            ),
            ("activeDeadlineSeconds", "How long the pod may run at all."),
            (
                "dnsPolicy",
                "Where names are looked up: ClusterFirst, ClusterFirstWithHostNet, Default or None. Default ClusterFirst.",
            ),
            (
                "dnsConfig",
                "Name servers and search domains beside those of dnsPolicy.",
            ),
            ("nodeSelector", "Labels that the node must have."),
            (
                "nodeName",
                "The node that the pod runs on. Set by the scheduler; when given, the scheduler is not asked.",
            ),
            (
                "serviceAccountName",
                "The ServiceAccount whose rights the pod has. Default \"default\".",
            ),
            ("serviceAccount", "The older name of serviceAccountName."),
            (
                "automountServiceAccountToken",
                "Whether a token of the ServiceAccount is mounted. Default true.",
            ),
            (
                "hostNetwork",
                "Whether the pod uses the network of its node instead of one of its own.",
            ),
            ("hostPID", "Whether the pod sees the processes of its node."),
            (
                "hostIPC",
                "Whether the pod shares inter-process communication with its node.",
            ),
            (
                "shareProcessNamespace",
                "Whether the containers see each other's processes.",
            ),
            (
                "securityContext",
                "Users, groups and system settings for all containers.",
            ),
            (
                "imagePullSecrets",
                "Secrets with the credentials of image registries.",
            ),
            ("hostname", "The host name. Default: the pod's name."),
            (
                "subdomain",
                "The headless Service under which the host name can be looked up.",
            ),
            (
                "affinity",
                "Which nodes and which neighbours the pod wants or avoids.",
            ),
            ("tolerations", "Taints of nodes that the pod puts up with."),
            (
                "schedulerName",
                "Which scheduler finds a node. Default default-scheduler.",
            ),
            ("hostAliases", "More lines for the containers' /etc/hosts."),
            ("priorityClassName", "The PriorityClass of the pod."),
            ("priority", "The priority as a number; from the class."),
            (
                "readinessGates",
                "Conditions that others set and that must be true before the pod is ready.",
            ),
            (
                "runtimeClassName",
                "The RuntimeClass that says what runs the containers.",
            ),
            (
                "enableServiceLinks",
                "Whether addresses of Services come as environment variables. Default true.",
            ),
            (
                "topologySpreadConstraints",
                "How pods are spread over zones and nodes.",
            ),
            (
                "schedulingGates",
                "As long as there is one, no node is looked for.",
            ),
        ],
    ),
    (
        "Container",
        "One program of a pod, with its image and its surroundings.",
        &[
            ("name", "The name, unique in the pod."),
            ("image", "The image whose program runs."),
            (
                "command",
                "What runs instead of the image's entry point. $(NAME) is replaced by a variable of the environment.",
            ),
            ("args", "The arguments, instead of the image's own."),
            ("workingDir", "The directory in which the program starts."),
            (
                "ports",
                "Ports that the program listens on. For information, and for Services that name them.",
            ),
            ("env", "Variables of the environment."),
            (
                "envFrom",
                "ConfigMaps and Secrets that become variables of the environment, all of their entries.",
            ),
            (
                "resources",
                "How much CPU and memory the container asks for, and may use at most.",
            ),
            ("volumeMounts", "Where volumes of the pod are mounted."),
            ("volumeDevices", "Where block devices appear."),
            ("livenessProbe", "When it fails, the container is restarted."),
            (
                "readinessProbe",
                "While it fails, the pod gets no traffic from Services.",
            ),
            ("startupProbe", "Until it succeeds, the other probes wait."),
            ("lifecycle", "What runs after the start and before the end."),
            (
                "terminationMessagePath",
                "A file whose content becomes the message of an ended container. Default /dev/termination-log.",
            ),
            (
                "terminationMessagePolicy",
                "File, or FallbackToLogsOnError to take the end of the log instead of an empty file.",
            ),
            ("imagePullPolicy", "Always, IfNotPresent or Never."),
            (
                "securityContext",
                "User, group, capabilities and the like of this container.",
            ),
            (
                "stdin",
                "Whether the container's standard input is kept open for attach.",
            ),
            (
                "stdinOnce",
                "Whether standard input is closed after the first attach.",
            ),
            ("tty", "Whether the container gets a terminal."),
            ("restartPolicy", "For init containers: Always makes it a sidecar."),
        ],
    ),
    (
        "ContainerPort",
        "A port that a container listens on.",
        &[
            ("containerPort", "The number, 1 to 65535."),
            ("name", "A name by which Services and probes may refer to it."),
            ("hostPort", "The same port on the node."),
            ("hostIP", "The node's address for hostPort."),
        ],
    ),
    (
        "EnvVar",
        "A variable of the environment.",
        &[
            ("name", "The name of the variable."),
            ("value", "Its value. $(NAME) is replaced by another variable."),
            ("valueFrom", "Where the value comes from instead."),
        ],
    ),
    (
        "EnvVarSource",
        "Where a variable's value comes from.",
        &[
            (
                "fieldRef",
                "A field of the pod, for example metadata.name or status.podIP.",
            ),
            ("resourceFieldRef", "A request or limit of a container."),
            ("configMapKeyRef", "An entry of a ConfigMap."),
            ("secretKeyRef", "An entry of a Secret."),
        ],
    ),
    (
        "Probe",
        "A check of a container that is made again and again.",
        &[
            ("httpGet", "An HTTP request; 200 to 399 is success."),
            ("tcpSocket", "A TCP connection that must come about."),
            ("exec", "A command in the container that must exit with 0."),
            ("grpc", "A call of gRPC's health service."),
            (
                "initialDelaySeconds",
                "How long after the start the first check is made. Default 0.",
            ),
            ("periodSeconds", "How often it is made. Default 10."),
            ("timeoutSeconds", "How long it may take. Default 1."),
            (
                "successThreshold",
                "How many successes in a row count as success. Default 1.",
            ),
            (
                "failureThreshold",
                "How many failures in a row count as failure. Default 3.",
            ),
            (
                "terminationGracePeriodSeconds",
                "How long the container may take to end after a failure.",
            ),
        ],
    ),
    (
        "HTTPGetAction",
        "An HTTP request.",
        &[
            ("path", "The path. Default /."),
            ("port", "Number or name of the container's port."),
            ("host", "The host to connect to. Default: the pod's address."),
            ("scheme", "HTTP or HTTPS. Default HTTP."),
            ("httpHeaders", "Headers of the request."),
        ],
    ),
    (
        "ResourceRequirements",
        "How much a container asks for, and may use at most.",
        &[
            ("limits", "The most that it may use."),
            ("requests", "What it asks for. Default: the limits."),
            ("claims", "Claims of devices."),
        ],
    ),
    (
        "VolumeMount",
        "Where a volume is mounted in a container.",
        &[
            ("name", "The name of a volume of the pod."),
            ("mountPath", "The path in the container."),
            ("subPath", "A path in the volume, instead of its root."),
            ("subPathExpr", "The same with variables of the environment."),
            (
                "mountPropagation",
                "Whether mounts made later are seen on the other side.",
            ),
        ],
    ),
    (
        "Volume",
        "A directory that containers of the pod may mount.",
        &[
            ("emptyDir", "An empty directory that lives as long as the pod."),
            ("configMap", "The entries of a ConfigMap as files."),
            ("secret", "The entries of a Secret as files."),
            ("projected", "Several sources in one directory."),
            ("downwardAPI", "Fields of the pod as files."),
            ("hostPath", "A path of the node."),
            (
                "persistentVolumeClaim",
                "A volume that outlives the pod, by its claim.",
            ),
        ],
    ),
    (
        "SecurityContext",
        "Who a container runs as, and what it may do.",
        &[
            ("runAsUser", "The user id."),
            ("runAsGroup", "The group id."),
            ("runAsNonRoot", "Whether a start as root is refused."),
            ("privileged", "Whether the container may do what the node may."),
            ("capabilities", "Linux capabilities that are added or dropped."),
            (
                "readOnlyRootFilesystem",
                "Whether the root file system is read-only.",
            ),
            (
                "allowPrivilegeEscalation",
                "Whether a process may gain more rights than its parent.",
            ),
        ],
    ),
    (
        "PodSecurityContext",
        "Who the containers of a pod run as, and settings of its kernel.",
        &[
            ("fsGroup", "The group that owns files in volumes."),
            ("runAsUser", "The user id."),
            ("runAsGroup", "The group id."),
            ("runAsNonRoot", "Whether a start as root is refused."),
            ("supplementalGroups", "More groups of the processes."),
            ("sysctls", "Settings of the kernel for this pod."),
        ],
    ),
    (
        "PodStatus",
        "Where a pod stands.",
        &[
            ("phase", "Pending, Running, Succeeded, Failed or Unknown."),
            ("podIP", "The address of the pod."),
            ("podIPs", "All addresses of the pod."),
            ("hostIP", "The address of its node."),
            ("startTime", "When the node took the pod."),
            ("containerStatuses", "Where each container stands."),
            ("initContainerStatuses", "Where each init container stands."),
            (
                "qosClass",
                "Guaranteed, Burstable or BestEffort; from requests and limits.",
            ),
        ],
    ),
];
