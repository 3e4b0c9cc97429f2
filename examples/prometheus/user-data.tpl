#cloud-config
fqdn: ${hostname}.${domain}
hostname: ${hostname}
manage_etc_hosts: true

write_files:
  - path: /root/bakery/cloud-init.json
    permissions: '0600'
    content: |
      {
        "cloud_init": true,
        "data_volume": "${data_volume}",
        "monitoring_scrape_interval": "${scrape_interval}",
        "monitoring_external_labels": { "host": "${hostname}" }
      }

runcmd:
  - ansible-playbook -v -i 'localhost,' -c local /root/bakery/playbook.yml --extra-vars "@/root/bakery/cloud-init.json"
