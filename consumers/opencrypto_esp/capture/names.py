"""
What frames and packets are called that hold no IP, or IP that is not ESP: for people to read.

Numbers and names of link types are those of draft-ietf-opsawg-pcaplinktype; ethertypes, PPP and IP
protocol numbers those of IANA's registries.
"""

from __future__ import annotations

from typing import Final

_LINK_TYPES: Final = {
    0: "NULL ETHERNET EXP_ETHERNET AX25 PRONET CHAOS IEEE802_5 ARCNET_BSD SLIP PPP FDDI",
    50: "PPP_HDLC PPP_ETHER",
    99: """
        SYMANTEC_FIREWALL ATM_RFC1483 RAW SLIP_BSDOS PPP_BSDOS C_HDLC IEEE802_11 ATM_CLIP
        FRELAY LOOP ENC LANE8023 HIPPI HDLC LINUX_SLL LTALK ECONET IPFILTER PFLOG
        CISCO_IOS IEEE802_11_PRISM IEEE802_11_AIRONET HHDLC IP_OVER_FC SUNATM RIO PCI_EXP
        AURORA IEEE802_11_RADIOTAP TZSP ARCNET_LINUX JUNIPER_MLPPP JUNIPER_MLFR JUNIPER_ES
        JUNIPER_GGSN JUNIPER_MFR JUNIPER_ATM2 JUNIPER_SERVICES JUNIPER_ATM1
        APPLE_IP_OVER_IEEE1394 MTP2_WITH_PHDR MTP2 MTP3 SCCP DOCSIS LINUX_IRDA IBM_SP
        IBM_SN RESERVED_01 RESERVED_02 RESERVED_03 RESERVED_04 RESERVED_05 RESERVED_06
        RESERVED_07 RESERVED_08 RESERVED_09 RESERVED_10 RESERVED_11 RESERVED_12
        RESERVED_13 RESERVED_14 RESERVED_15 RESERVED_16 IEEE802_11_AVS JUNIPER_MONITOR
        BACNET_MS_TP PPP_PPPD JUNIPER_PPPOE JUNIPER_PPPOE_ATM GPRS_LLC GPF_T GPF_F
        GCOM_T1E1 GCOM_SERIAL JUNIPER_PIC_PEER ERF_ETH ERF_POS LINUX_LAPD JUNIPER_ETHER
        JUNIPER_PPP JUNIPER_FRELAY JUNIPER_CHDLC MFR JUNIPER_VP A429 A653_ICM USB_FREEBSD
        BLUETOOTH_HCI_H4 IEEE802_16_MAC_CPS USB_LINUX CAN20B IEEE802_15_4_LINUX PPI
        IEEE802_16_MAC_CPS_RADIO JUNIPER_ISM IEEE802_15_4_WITHFCS SITA ERF RAIF1
        IPMB_KONTRON JUNIPER_ST BLUETOOTH_HCI_H4_WITH_PHDR AX25_KISS LAPD PPP_WITH_DIR
        C_HDLC_WITH_DIR FRELAY_WITH_DIR LAPB_WITH_DIR
        """,
    209: """
        I2C_LINUX FLEXRAY MOST LIN X2E_SERIAL X2E_XORAYA IEEE802_15_4_NONASK_PHY
        LINUX_EVDEV GSMTAP_UM GSMTAP_ABIS MPLS USB_LINUX_MMAPPED DECT AOS WIHART FC_2
        FC_2_WITH_FRAME_DELIMS IPNET CAN_SOCKETCAN IPV4 IPV6 IEEE802_15_4_NOFCS DBUS
        JUNIPER_VS JUNIPER_SRX_E2E JUNIPER_FIBRECHANNEL DVB_CI MUX27010 STANAG_5066_D_PDU
        JUNIPER_ATM_CEMIC NFLOG NETANALYZER NETANALYZER_TRANSPARENT IPOIB MPEG_2_TS NG40
        NFC_LLCP PFSYNC INFINIBAND SCTP USBPCAP RTAC_SERIAL BLUETOOTH_LE_LL
        WIRESHARK_UPPER_PDU NETLINK BLUETOOTH_LINUX_MONITOR BLUETOOTH_BREDR_BB
        BLUETOOTH_LE_LL_WITH_PHDR PROFIBUS_DL PKTAP EPON IPMI_HPM_2 ZWAVE_R1_R2 ZWAVE_R3
        WATTSTOPPER_DLM ISO_14443 RDS USB_DARWIN OPENFLOW SDLC TI_LLN_SNIFFER LORATAP
        VSOCK NORDIC_BLE DOCSIS31_XRA31 ETHERNET_MPACKET DISPLAYPORT_AUX LINUX_SLL2
        SERCOS_MONITOR OPENVIZSLA EBHSCR VPP_DISPATCH DSA_TAG_BRCM DSA_TAG_BRCM_PREPEND
        IEEE802_15_4_TAP DSA_TAG_DSA DSA_TAG_EDSA ELEE Z_WAVE_SERIAL USB_2_0 ATSC_ALP ETW
        NETANALYZER_NG ZBOSS_NCP USB_2_0_LOW_SPEED USB_2_0_FULL_SPEED USB_2_0_HIGH_SPEED
        AUERSWALD_LOG ZWAVE_TAP SILABS_DEBUG_CHANNEL FIRA_UCI MDB DECT_NR
        """,
}
"""Names of link types without ``LINKTYPE_``: each run of numbers by its first."""

LINK_TYPES: Final = {
    first + n: name for first, run in _LINK_TYPES.items() for n, name in enumerate(run.split())
}

ETHERTYPES: Final = {
    0x0806: "ARP",
    0x0842: "wake-on-LAN",
    0x22F0: "AVTP",
    0x6003: "DECnet",
    0x8035: "RARP",
    0x809B: "AppleTalk",
    0x80F3: "AARP",
    0x8137: "IPX",
    0x8808: "pause",
    0x8809: "LACP",
    0x8847: "MPLS",
    0x8848: "MPLS",
    0x8863: "PPPoE discovery",
    0x8864: "PPPoE",
    0x888E: "EAPOL",
    0x8892: "PROFINET",
    0x88A4: "EtherCAT",
    0x88B8: "GOOSE",
    0x88CC: "LLDP",
    0x88E5: "MACsec",
    0x88E7: "provider backbone bridge",
    0x88F7: "PTP",
    0x8902: "CFM",
    0x8906: "FCoE",
    0x9000: "loopback test",
}

PPP_PROTOCOLS: Final = {
    0x002B: "IPX",
    0x003D: "multilink",
    0x00FD: "compressed",
    0x8021: "IPCP",
    0x8057: "IPv6CP",
    0x80FD: "CCP",
    0xC021: "LCP",
    0xC023: "PAP",
    0xC025: "LQR",
    0xC223: "CHAP",
    0xC227: "EAP",
}

SAPS: Final = {
    0x06: "IP over LLC",
    0x42: "STP",
    0xE0: "IPX",
    0xF0: "NetBIOS",
    0xFE: "OSI",
    0xFF: "IPX",
}
"""The common destinations of LLC."""

IP_PROTOCOLS: Final = {
    1: "ICMP",
    2: "IGMP",
    4: "IP in IP",
    6: "TCP",
    17: "UDP",
    41: "IPv6 in IP",
    47: "GRE",
    51: "AH",
    58: "ICMPv6",
    59: "no next header",
    88: "EIGRP",
    89: "OSPF",
    103: "PIM",
    108: "IPComp",
    112: "VRRP",
    115: "L2TP",
    132: "SCTP",
    136: "UDP-Lite",
}

BLOCKS: Final = {
    4: "name resolution",
    5: "interface statistics",
    9: "systemd journal",
    10: "decryption secrets",
    0xBAD: "custom block",
    0x40000BAD: "custom block",
}
"""Blocks of pcapng that are no packets."""


def ethertype(number: int) -> str:
    """Name what an ethertype stands for."""
    return ETHERTYPES.get(number) or f"ethertype {number:#06x}"


def ppp(number: int) -> str:
    """Name a protocol of PPP."""
    return f"PPP {PPP_PROTOCOLS.get(number) or format(number, '#06x')}"


def llc(sap: int) -> str:
    """Name what LLC brings to a service access point."""
    return SAPS.get(sap) or f"LLC {sap:#04x}"


def ip_protocol(number: int) -> str:
    """Name a protocol above IP."""
    return IP_PROTOCOLS.get(number) or f"IP protocol {number}"


def block(kind: int) -> str:
    """Name a block of pcapng."""
    return BLOCKS.get(kind) or f"block type {kind:#x}"
