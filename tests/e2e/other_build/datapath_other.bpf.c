/* The programs of another build of fastnet, for tests that replace one by the other: the same, and one more. */
#include "bpf/datapath.bpf.c"

SEC("tc")
int tc_other_build(struct __sk_buff *skb)
{
    return skb->len ? TC_ACT_UNSPEC : TC_ACT_OK;
}
