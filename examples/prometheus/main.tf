variable "ami" {
  description = "The image; a name or id of a local image, or an AMI's id."
  default     = "prometheus"
}

resource "aws_security_group" "monitoring" {
  name = "monitoring"

  ingress {
    from_port   = 9090
    to_port     = 9090
    protocol    = "tcp"
    cidr_blocks = ["10.0.0.0/8"]
  }

  ingress {
    from_port   = 9093
    to_port     = 9093
    protocol    = "tcp"
    cidr_blocks = ["10.0.0.0/8"]
  }
}

resource "aws_instance" "prometheus" {
  ami                    = var.ami
  instance_type          = "t3.medium"
  availability_zone      = "eu-central-1a"
  user_data              = templatefile("user-data.tpl", { hostname = "prom01", domain = "example.internal", data_volume = "/dev/xvdb", scrape_interval = "2s" })
  vpc_security_group_ids = [aws_security_group.monitoring.id]

  root_block_device {
    volume_size = 8
    volume_type = "gp3"
  }
}

# The data outlives the instance.
resource "aws_ebs_volume" "data" {
  availability_zone = "eu-central-1a"
  size              = 2
  type              = "gp3"
}

resource "aws_volume_attachment" "data" {
  device_name = "/dev/xvdb"
  volume_id   = aws_ebs_volume.data.id
  instance_id = aws_instance.prometheus.id
}

output "instance" {
  value = aws_instance.prometheus.id
}
